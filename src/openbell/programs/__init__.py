"""Programs that run by themselves beside openbell, with nothing but the standard library, and outlive it."""
