"""The crash simulation: the real loop against a world that is made to go wrong, all of it decided by one seed.

    schedule    virtual time; what happens next             process     a reconciler that can be stopped between any two effects
    fate        what becomes of one effect
    world       everything, put together                    clocks      what each process believes the time to be
    reconciler  the real loop in a process of its own       wires       faults on everything it reaches
    agent       the real agent in a process of its own      hands       what it can do to attempts
    machine     hosts, their disks and job processes        network     messages between agents and reconcilers
    program     what a job computes                         person      who edits the desired state
    depot       the real store on a disk that forgets       chaos       the fault plan of one seed
    watch       what must hold after every step             ending      what must be true once the faults have stopped
    seed        one seed from beginning to end              tour        one run, killed at every one of its effects
    mutants     one-line errors that must be found

`python -m tests.simulation --seed N -v` replays one seed with every step; `--count` says how many points are enumerated.
"""
