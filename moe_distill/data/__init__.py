"""Real data: whole sets on the device, their parts, their class batches and augmentation."""
