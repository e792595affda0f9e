"""Lightning callbacks that observe training: progress, norms, figures. None of them changes a run's numbers."""
