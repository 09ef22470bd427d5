"""Models outside of Python and PyTorch: ONNX, OpenVINO, int8, torch.export, AOTInductor."""
