"""The hub: takes jobs, keeps their truth, schedules them and hands results back."""
