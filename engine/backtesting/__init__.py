"""What a strategy would have earned: plans from what was known, batteries as they behave, money as it was settled."""
