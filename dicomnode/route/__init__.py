"""When a study is whole, which routes it takes, and which of its series feed which model."""
