"""Many runs: launched, foretold, looked at, reported."""
