"""Train, restore and compare all-in-one medical image restoration: AMIR on MRI, CT and PET."""
