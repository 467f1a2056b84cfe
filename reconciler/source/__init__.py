"""Where desired state comes from: a Git repository, or a working folder in development. One module an outside thing."""
