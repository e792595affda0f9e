"""Lightning callbacks that ask and never alter: progress, norms, figures."""
