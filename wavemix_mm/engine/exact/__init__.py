"""Training that a resume repeats bit for bit: seeds, samplers, schedules."""
