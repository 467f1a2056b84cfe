"""The crash simulation: the real loop against a world that is made to go wrong, all of it decided by one seed.

    schedule    virtual time; what happens next             process     a reconciler that can be stopped between any two effects
    fate        what becomes of one effect                  clocks      what each process believes the time to be
    world       everything, put together                    reconciler  the real loop, with faults on every wire
    machine     hosts, their disks and job processes        agent       what an agent does, one effect at a time
    program     what a job computes                         person      who edits the desired state
    depot       the stores, and what they truly hold        chaos       the fault plan of one seed
    watch       what must hold after every step             ending      what must be true once the faults have stopped
    tour        one run, killed at every effect             mutants     one-line errors that must be found

`python -m tests.simulation --seed N -v` replays one seed with every step; `--count` says how many points are enumerated.
"""
