package pull
