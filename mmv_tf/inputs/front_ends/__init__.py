"""Other spectrograms than `LogMel`, one a file; each is set as `InputPipeline.audio`."""
