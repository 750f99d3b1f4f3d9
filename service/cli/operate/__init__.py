"""Commands that operate it: run, status, doctor, the database, the demo."""
