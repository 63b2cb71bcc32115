"""Res-CR-Net: semantic segmentation of microscopy images from a few labelled examples."""

__version__ = "0.1.0"
