"""Measures Taskyard against yardsticks taken in the same run on the same machine."""
