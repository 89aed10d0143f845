"""The conductors: receiver, keeper, worker, sender. Each is claim, do, commit; none computes."""
