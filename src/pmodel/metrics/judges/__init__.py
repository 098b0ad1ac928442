"""What judges are made of, and the four that are shipped: NAME.safetensors with a record NAME.json for the reader."""
