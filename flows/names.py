"""What posemill's things are called on a Prefect server."""

POOL = "posemill"
# Slots that stages hold while they work, and how many there are of each: one GPU, a disk that two can write to at a time.
GPU_SLOT, DISK_SLOT = "posemill-gpu", "posemill-disk"
SLOTS = {GPU_SLOT: 1, DISK_SLOT: 2}
# The deployment that builds one session.
ON_DEMAND = "build-dataset/on-demand"
