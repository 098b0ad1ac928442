"""What the doctor can find wrong: one file for each thing that is looked at, known by a capability or by named losses."""
