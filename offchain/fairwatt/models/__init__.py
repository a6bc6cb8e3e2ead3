"""The published models, in the terms of their papers."""
