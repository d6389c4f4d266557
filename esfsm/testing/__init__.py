"""What tests of others may use: recorded jobs replayed by pytest, and simulated worlds with bad weather."""
