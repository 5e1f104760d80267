"""Where a store lies: known to who looks on, without what it takes to make a shard."""

FOLDER = ".parts"
