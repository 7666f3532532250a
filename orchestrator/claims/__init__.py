"""Does what the source study found hold? From the arms of a study to a verdict on each claim."""
