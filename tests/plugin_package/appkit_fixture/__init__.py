"""A plug-in package outside appkit: what CONTRIBUTING.md walks through, and what the tests install."""
