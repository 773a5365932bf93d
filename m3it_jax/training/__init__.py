"""One loop and one pure step for every stage; stages differ in the values of their configuration alone."""
