"""Image synthesis: latent diffusion under pose maps.

Images are RGB; a pose map is an image (H, W, 3) uint8 of coloured limbs; latents are (B, 4, H/f, W/f) float32, f the
downsampling of the autoencoder. Text and pose conditions follow the layout of Stable Diffusion with ControlNet, so that
folders written here load in stock diffusers, and folders from elsewhere load here.
"""
