"""The figures of docs/performance.md, and the data they are taken on."""
