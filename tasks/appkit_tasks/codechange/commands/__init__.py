"""Commands of daily use: `appkit commit-message`, `appkit review`, `appkit update-comments`."""
