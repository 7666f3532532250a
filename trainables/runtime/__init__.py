"""The process that trains: its rank and device, random seeds, heartbeats and environment."""
