"""Networks in ONNX files as classifiers, by ONNX Runtime."""
