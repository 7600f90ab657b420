"""Statistics of scores: intervals, comparisons, confidence, calibration. numpy only."""
