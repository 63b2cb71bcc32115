"""The verbs of the command line, a file for each or for a few alike. Heavy imports wait until a verb is called."""
