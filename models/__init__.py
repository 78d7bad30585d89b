"""Networks: arrays and tensors in, arrays and tensors out. No scheduler, no files except weights.

Conventions: images are RGB; pixel (0, 0) is the centre of the top-left pixel; networks run in float32.
B batch, N people of one image, P people found, J joints, K tag dimensions, H x W pixels (of the map where a map is meant).
"""
