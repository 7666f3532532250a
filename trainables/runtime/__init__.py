"""The process that trains: its rank and device, random seeds, signs of life, environment."""
