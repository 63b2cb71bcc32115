"""Operations worth their own kernel."""
