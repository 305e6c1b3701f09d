"""Start the jobs of a sweep: as processes, as forks of a warm process, or by Slurm."""
