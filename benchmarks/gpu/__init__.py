"""Measurements that only a graphics card can make: one command of jobs, results as they come."""
