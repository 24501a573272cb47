"""Where the points of a sweep are computed: processes of this machine, a Dask cluster, a Slurm cluster.

Every executor has a function ``execute(directory, points, *, ...)`` and imports what it needs itself.
"""
