"""What a model looks at and depends on: receptive fields, occlusion, sub-bands, corruptions."""
