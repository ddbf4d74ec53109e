"""The recorded answers, their prices, and the budget."""
