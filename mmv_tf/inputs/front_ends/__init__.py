"""Other front ends of sound than `LogMel`, one a file; each is set as `InputPipeline.audio`."""
