"""What a graphics card decides, prepared: one command, jobs in the order of what they tell, results as they come."""
