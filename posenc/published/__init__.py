"""Published claims of others. Each has a file, a sweep of runs, and a verdict by the same rule as studies."""
