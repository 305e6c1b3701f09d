"""Where a run computes, and the services it uses: store, trainer, tracker."""
