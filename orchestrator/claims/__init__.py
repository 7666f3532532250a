"""The claims of the source study, judged on the arms of a study."""
