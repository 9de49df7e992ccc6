"""Image classifiers from timm, torchvision, files and functions, and folders of images as data sets."""
