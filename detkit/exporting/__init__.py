"""Models as one graph for other runtimes: network, decoding and suppression, as ONNX, `torch.export` or TorchScript."""
