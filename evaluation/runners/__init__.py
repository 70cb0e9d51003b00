"""What starts an image and keeps hold of it: plain processes here, containers elsewhere."""
