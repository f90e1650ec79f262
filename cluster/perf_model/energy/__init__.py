"""What is counted, what each count costs in joules, and how a card's power moves with its clock."""
