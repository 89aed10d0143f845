"""Files become stacks of planes and volumes in patient geometry, or a refusal that says why."""
