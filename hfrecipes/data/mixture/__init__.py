"""Mixtures of sources: which row of which source comes when, as a pure function of the sample's number."""
